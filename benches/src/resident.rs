//! Resident memory of processes, as Linux tells it.

use anyhow::{Context, Result};

/// Of a process, now.
///
/// # Errors
/// When the process is gone.
pub(crate) fn bytes(process: u32) -> Result<u64> {
    field(process, "VmRSS:")
}

/// Of this process, at most since [`forget_peak`].
///
/// # Errors
/// When the kernel does not tell.
pub(crate) fn peak_bytes() -> Result<u64> {
    field(std::process::id(), "VmHWM:")
}

/// Begins the peak anew. Where the kernel does not allow it, the peak is that of the whole run, which is more.
pub(crate) fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn field(process: u32, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("{name} in status"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kibibytes * 1024)
}
