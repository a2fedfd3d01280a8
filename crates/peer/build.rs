//! Generates the messages from `proto/peer/v1`, in Rust alone: no protoc is needed.

use std::path::Path;

/// Relative to `proto`.
const FILE: &str = "peer/v1/peer.proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.join(FILE).display());
    let descriptors = protox::compile([FILE], [root])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
