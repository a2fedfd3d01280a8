//! Generates the messages from `proto/client/v1`, in Rust alone: no protoc is needed.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The files, relative to `proto`.
const FILES: [&str; 2] = ["client/v1/client.proto", "client/v1/admin.proto"];

#[allow(clippy::disallowed_methods, reason = "a build script reads its environment and writes files")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    for file in FILES {
        println!("cargo::rerun-if-changed={}", root.join(file).display());
    }
    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_source_info(true).include_imports(true).open_files(FILES)?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("client.v1.descriptors.bin"), compiler.encode_file_descriptor_set())?;
    prost_build::Config::new().bytes(["."]).btree_map(["."]).compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
