//! What the build needs beside a Rust toolchain and a C++ compiler: libclang, with which bindgen
//! reads RocksDB's C header. Found where clang-sys looks for it, else installed.

use crate::run;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders in which distributions keep libclang, besides `LIBCLANG_PATH`. `*` stands for any name.
const FOLDERS: [&str; 8] = [
    "/usr/lib/llvm-*/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64/llvm*/lib",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/llvm*/lib",
];

/// Makes sure that the build finds everything, installing what is missing.
///
/// # Errors
/// When something is missing and cannot be installed; the message says what to do by hand.
pub(crate) fn install() -> Result<()> {
    for compiler in ["cc", "c++"] {
        if !works(compiler, &["--version"]) {
            bail!(
                "no C and C++ compiler found ('{compiler}' does not run): install gcc and g++ \
                 (Debian: apt-get install gcc g++)"
            );
        }
    }
    if libclang_is_there() {
        return Ok(());
    }
    eprintln!("libclang is missing. RocksDB's Rust bindings are generated from its C header at build time,");
    eprintln!("and the generator, bindgen, reads C with libclang.");
    if works("apt-get", &["--version"]) {
        return install_with_apt();
    }
    bail!(
        "libclang is missing and this is not a Debian system: install it with your package manager \
         (Fedora: dnf install clang-libs clang-devel; Arch: pacman -S clang), or set LIBCLANG_PATH to the folder \
         that holds libclang.so"
    )
}

fn install_with_apt() -> Result<()> {
    let as_root = || -> Result<Command> {
        if output("id", &["-u"]).as_deref() == Some("0") {
            Ok(Command::new("apt-get"))
        } else if works("sudo", &["--version"]) {
            let mut command = Command::new("sudo");
            command.arg("apt-get");
            Ok(command)
        } else {
            bail!("libclang is missing: run 'apt-get install libclang-dev' as root, then this command again")
        }
    };
    // The two packages that suffice on Debian 12, about 30 MB installed less than libclang-dev.
    const SMALL: [&str; 2] = ["libclang1-14", "libclang-common-14-dev"];
    eprintln!("Installing the Debian packages {} (fallback: libclang-dev).", SMALL.join(" and "));
    run(as_root()?.args(["update", "--quiet"]))?;
    let options = ["install", "--yes", "--quiet", "--no-install-recommends"];
    if run(as_root()?.args(options).args(SMALL)).is_err() {
        run(as_root()?.args(options).arg("libclang-dev"))?;
    }
    if !libclang_is_there() {
        bail!("libclang was installed but is not found: set LIBCLANG_PATH to the folder that holds libclang.so");
    }
    Ok(())
}

fn libclang_is_there() -> bool {
    if let Ok(path) = std::env::var("LIBCLANG_PATH") {
        return Path::new(&path).is_file() || holds_libclang(Path::new(&path));
    }
    FOLDERS.iter().flat_map(|pattern| expand(pattern)).any(|folder| holds_libclang(&folder))
}

fn holds_libclang(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        // libclang-cpp is another library.
        name.starts_with("libclang") && name.contains(".so") && !name.starts_with("libclang-cpp")
    })
}

/// The folders that a pattern with at most one `*` in one component stands for.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![pattern.into()] };
    let (parent, prefix) = before.rsplit_once('/').expect("patterns are absolute");
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let named = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    named.map(|entry| entry.path().join(after.trim_start_matches('/'))).collect()
}

fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
