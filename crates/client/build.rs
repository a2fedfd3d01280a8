//! Generates the gRPC clients of the client API, and for tests its servers; the messages are those of `api`.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Relative to `proto`.
const FILES: [&str; 2] = ["client/v1/client.proto", "client/v1/admin.proto"];

#[allow(clippy::disallowed_methods, reason = "a build script reads its environment and writes files")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    for file in FILES {
        println!("cargo::rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(FILES, [root])?;
    let servers = PathBuf::from(env::var("OUT_DIR")?).join("servers");
    fs::create_dir_all(&servers)?;
    let messages = || tonic_prost_build::configure().extern_path(".helenus.client.v1", "::api::proto::client::v1");
    messages().build_client(false).out_dir(servers).compile_fds(descriptors.clone())?;
    messages().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
