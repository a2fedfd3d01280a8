//! Runs a fuzz target under libFuzzer: `fuzz [libFuzzer's arguments]` with the target's name in `FUZZ_TARGET`.
//! With `FUZZ_SEEDS` set to a folder it writes the target's first inputs and its corpus there and ends; with
//! `FUZZ_KEEP` it makes the files of a folder the target's corpus; with `FUZZ_LIST` it lists the targets.
//!
//! Memory is bounded by the allocator below: an input that makes a target hold more than a fixed multiple of its own
//! size ends the process, which libFuzzer reports with the input.
#![no_main]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    unsafe_code,
    reason = "a program that talks to libFuzzer: an allocator, and a symbol that C calls"
)]

use fuzz::{TARGETS, Target, target};
use libfuzzer_sys::fuzz_target;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a target may hold whatever its input.
const BYTES_FREE: usize = 1 << 20;
/// What it may hold for each byte of its input.
const BYTES_PER_BYTE: usize = 512;

/// The system's allocator, which counts what is held and ends the process at a limit.
struct Bounded {
    held: AtomicUsize,
    limit: AtomicUsize,
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded { held: AtomicUsize::new(0), limit: AtomicUsize::new(usize::MAX) };

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = self.held.fetch_add(layout.size(), Ordering::Relaxed).saturating_add(layout.size());
        if held > self.limit.load(Ordering::Relaxed) {
            // The message needs memory too.
            self.limit.store(usize::MAX, Ordering::Relaxed);
            eprintln!("the target holds {held} bytes: more than its input allows");
            std::process::abort();
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.held.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The target that this process runs.
fn chosen() -> Target {
    static CHOSEN: OnceLock<Target> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        if std::env::var_os("FUZZ_LIST").is_some() {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            std::process::exit(0);
        }
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names the target");
        let target = target(&name).expect("FUZZ_TARGET is one of those that FUZZ_LIST lists");
        if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
            let inputs = (target.seeds)().into_iter().chain(target.corpus().expect("the corpus is read"));
            for (number, seed) in inputs.enumerate() {
                let path = std::path::Path::new(&folder).join(format!("seed-{number}"));
                std::fs::write(path, seed).expect("the seed is written");
            }
            std::process::exit(0);
        }
        if let Some(folder) = std::env::var_os("FUZZ_KEEP") {
            let entries = std::fs::read_dir(&folder).expect("the folder is read");
            let input = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read(entry?.path());
            let inputs = entries.map(input).collect::<Result<_, _>>().expect("its files are read");
            target.keep(inputs).expect("the corpus is written");
            std::process::exit(0);
        }
        target
    })
}

fuzz_target!(init: { let _ = chosen(); }, |data: &[u8]| {
    let target = chosen();
    let limit = ALLOCATOR.held.load(Ordering::Relaxed) + BYTES_FREE + BYTES_PER_BYTE * data.len();
    ALLOCATOR.limit.store(limit, Ordering::Relaxed);
    (target.run)(data);
    ALLOCATOR.limit.store(usize::MAX, Ordering::Relaxed);
});
