//! The deterministic driver: the production [`node::Shard`] and [`membership::Member`] under one heap of events, with a
//! simulated network, disks, clocks and faults, clients that speak CQL, and oracles that judge.
//!
//! Invariants:
//! * One seed gives one run, bit for bit: the hash of the trace says so. There is no thread, clock or random number
//!   here but those of the simulation.
//! * The production code is driven through the same surface as by the server, and only through it: inputs,
//!   effects, the `Storage` trait, the codecs of messages.
//! * Every fault is survivable: what an oracle reports is a defect of the code, or of the simulator.
//!
//! Map: [`world`] events, [`network`], [`disk`], [`clock`], [`fault`] what the world is made of; [`workload`] the
//! clients; [`oracle`] what must hold; [`stage`] what runs of every kind have; [`simulation`] one run of one seed,
//! [`transactions`] one of transactions, [`counters`] one of counters and logged batches, [`storms`] one of changes of
//! the schema; [`cost`] what an operation costs in clusters of different sizes; [`planted`] what catches broken rules;
//! [`trace`] its record; [`cli`] the command `helenus sim`. The page `docs/protocol/simulation.md` tells how to use and
//! extend it.

pub mod cli;
pub mod clock;
pub mod cost;
pub mod counters;
pub mod disk;
pub mod fault;
mod machine;
pub mod network;
pub mod oracle;
pub mod planted;
pub mod simulation;
pub mod stage;
pub mod storms;
pub mod story;
pub mod trace;
pub mod transactions;
pub mod workload;
pub mod world;

pub use cost::Cost;
pub use counters::{Counted, run_counters};
pub use simulation::{Requests, run};
pub use stage::{Failure, Options, Report};
pub use storms::{Changed, run_storms};
pub use transactions::{Transacted, run_transactions};
pub use world::{Build, Occurrence, Traffic, World};
