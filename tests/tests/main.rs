//! The end-to-end tests, one binary with a module for each topic.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests of the outside: they start processes and wait for them"
)]

mod bad_input;
mod clients;
mod connections;
mod copy;
mod corpus;
mod counters;
mod damage;
mod data_centers;
mod documentation;
mod durability;
mod examples;
mod histories;
mod indexes;
mod metadata;
mod overload;
mod process;
mod repair;
mod replication;
mod retry_tokens;
mod scans;
mod sick_disk;
mod transactions;
mod warnings;
