//! The limits of what one statement, value, partition key or message may be. Each has its unit last
//! in its name; the relations between them are checked at compile time.

/// Longest partition key or clustering key in encoded bytes. Cassandra: 64 KiB - 1, since the length
/// is an unsigned short on its wire and disk.
pub const KEY_BYTES_MAX: usize = 65_535;

/// Longest single value in bytes.
pub const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Largest encoded mutation in bytes: half of what one message carries.
pub const MUTATION_BYTES_MAX: usize = 8 * 1024 * 1024 + 256 * 1024;

/// Longest CQL statement in bytes.
pub const STATEMENT_BYTES_MAX: usize = 1024 * 1024;

/// Most bind markers in one statement; the native protocol counts them in an unsigned short.
pub const BIND_MARKERS_MAX: usize = 65_535;

/// Most columns in one table.
pub const COLUMNS_MAX: usize = 4_096;

/// Most tables in a cluster: each costs every node a write buffer and files of its own, whatever it holds.
pub const TABLES_MAX: usize = 500;

/// Most indexes of one table: each is written with every row.
pub const INDEXES_MAX: usize = 64;

/// Longest value that an index has, in bytes, as in Cassandra: the value is in the key of its entry.
pub const INDEXED_BYTES_MAX: usize = 65_535;

/// Most types that one type is made of, itself and those in its user-defined types included: each value is
/// checked against all of them.
pub const TYPE_PARTS_MAX: usize = 4_096;

/// From so many tables on a CREATE TABLE is answered with a warning.
pub const TABLES_WARNED: usize = 200;

/// Longest name of a keyspace in bytes, as in Cassandra.
pub const KEYSPACE_NAME_BYTES_MAX: usize = 48;

/// Longest name of a table, type, column or index in bytes: with the keyspace's it is in the name of a directory, that
/// of the snapshot of a dropped table.
pub const NAME_BYTES_MAX: usize = 150;

/// Largest message between nodes or from a client, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A page of a result ends at the row that reaches this many bytes.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Rows in a page when the client names no page size.
pub const PAGE_ROWS_DEFAULT: u32 = 5_000;

/// Longest time to live in seconds: 20 years, as Cassandra.
pub const TTL_SECONDS_MAX: u32 = 20 * 365 * 24 * 60 * 60;

/// Fragments of range tombstones in one partition beyond which a deletion is refused.
pub const RANGE_TOMBSTONES_MAX: usize = 10_000;

/// Deepest nesting of terms and types in a statement.
pub const NESTING_MAX: usize = 32;

const _: () = assert!(VALUE_BYTES_MAX + 2 * KEY_BYTES_MAX < MUTATION_BYTES_MAX);
const _: () = assert!(MUTATION_BYTES_MAX < MESSAGE_BYTES_MAX);
const _: () = assert!(TABLES_WARNED < TABLES_MAX);
const _: () = assert!(STATEMENT_BYTES_MAX < MESSAGE_BYTES_MAX);
const _: () = assert!(PAGE_BYTES_MAX + MUTATION_BYTES_MAX < MESSAGE_BYTES_MAX);
