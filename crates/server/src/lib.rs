//! The production driver: the same `Member` and `Shard` that the simulator runs, under tokio, RocksDB, real
//! sockets and real clocks.
//!
//! ```text
//! CQL native connection -> native_connection, native_request -+
//! gRPC client stream -> execute_stream, client_service -------+
//!                                                             v
//!                  execute (statement, values -> plan) -> gate -> shard_loop --+-> storage_writer
//!                                        |                                   ^    |      |-> read_cached, read_pool
//!                                        +-> member_loop (schema)            |    |      +-> peers -> other nodes
//! other nodes  -> peer_service --------------------------------------------> +    +-> answer to the client
//! ```
//!
//! Clients are asked who they are by auth (and grpc_login), and heard through tls; trace writes down what is done for a
//! request whose client wants to know.
//!
//! Invariants:
//! * Only [`clock`] reads clocks; a loop handles its inputs in batches under one reading.
//! * A request that would wait for too long is refused by [`gate`] before anything is done for it.
//! * Every queue is bounded. Towards a client a full queue is an `Overloaded` error, towards another node a
//!   lost message; no loop waits for another one's room, but for the streams that feed the loops.
//! * A panic in any thread, and a store that failed to sync, end the process.
//! * Ports and directories are refused with the reason and an exit code of their own ([`Exit`]).
//!
//! Threads: the runtime's workers run sockets and loops, as many as there are shards (on few processors one
//! worker per node is cheapest); one thread writes to storage; a few read what is not in memory; one sweeps
//! for garbage; RocksDB has its own.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this crate is the boundary to the world: clocks, threads, sockets and files"
)]

mod admin_service;
mod auth;
mod boot;
mod client_service;
mod clock;
pub mod config;
mod dev;
mod entropy;
mod execute;
mod execute_stream;
mod exit;
mod explain;
mod garbage_collector;
mod gate;
mod grpc_login;
mod index_builder;
mod logging;
mod member_loop;
mod metadata;
mod metrics;
mod native_clients;
mod native_connection;
mod native_events;
mod native_request;
mod native_service;
#[cfg(test)]
mod native_tests;
mod peer_link;
mod peer_service;
mod peers;
mod read_pool;
mod run;
mod shard_loop;
mod statements;
mod storage_writer;
mod tls;
mod trace;

pub use boot::{Node, StartOptions};
pub use dev::{Cluster, DevOptions, NODES_MAX as DEV_NODES_MAX};
pub use exit::{Exit, ServerError, abort_on_panic};
pub use logging::start_log;
pub use metadata::{inspect_metadata, recover_metadata};
pub use run::{run_dev, run_node};

/// The gRPC services as generated; their messages are those of `api` and `peer`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated; the protocol files document it")]
mod wire {
    tonic::include_proto!("helenus.client.v1");
    tonic::include_proto!("helenus.peer.v1");
}
