//! Generates the gRPC services; their messages are those of the crates `api` and `peer`.

use std::path::Path;

const FILES: [&str; 3] = ["client/v1/client.proto", "client/v1/admin.proto", "peer/v1/peer.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    for file in FILES {
        println!("cargo::rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(FILES, [root])?;
    tonic_prost_build::configure()
        .extern_path(".helenus.client.v1", "::api::proto::client::v1")
        .extern_path(".helenus.peer.v1", "::peer::proto::v1")
        .compile_fds(descriptors)?;
    Ok(())
}
