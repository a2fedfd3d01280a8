//! Libraries in C that are loaded before a process's own: compiled where a test needs one.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles `shim/NAME.c` into `folder`; the library.
///
/// # Errors
/// When the C compiler fails.
pub(crate) fn compile(name: &str, folder: &Path) -> io::Result<PathBuf> {
    let library = folder.join(name).with_extension("so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim").join(name).with_extension("c");
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .args(["-ldl", "-lpthread"])
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("the C compiler ended with {status}")));
    }
    Ok(library)
}

/// Makes `command` load `library` before its own libraries, beside those that it is to load already.
pub(crate) fn preload(command: &mut Command, library: &Path) {
    let before = command.get_envs().find_map(|(name, value)| value.filter(|_| name == "LD_PRELOAD"));
    let mut all = before.map(|before| before.to_owned()).unwrap_or_default();
    if !all.is_empty() {
        all.push(":");
    }
    all.push(library);
    command.env("LD_PRELOAD", all);
}
