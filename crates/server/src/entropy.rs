//! Randomness from the operating system: node ids and the seeds of everything else that is random.

use std::fs::File;
use std::io::Read as _;

/// 128 random bits.
///
/// # Errors
/// When the operating system gives none.
pub(crate) fn random_u128() -> std::io::Result<u128> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_be_bytes(bytes))
}

/// 64 random bits.
///
/// # Errors
/// When the operating system gives none.
pub(crate) fn random_u64() -> std::io::Result<u64> {
    random_u128().map(|bits| bits as u64)
}
