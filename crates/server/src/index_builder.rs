//! The background thread that builds new indexes over what their tables hold already, a page at a time.
//!
//! Invariants:
//! * After each page a pause as long as the page took: the work in the foreground has at least half of the disk.
//! * How far an index is built is written with its entries; a restart goes on where it ended.
//! * A store that fails while an index is built stops the process as one that fails while it is written to.

use crate::exit::tries_again;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use node::storage::Storage as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::Store;

/// How often is looked whether there is something to build.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Builds indexes until the node stops, which disconnects `stop`.
pub(crate) fn run(store: &Arc<Store>, stop: &Receiver<()>) {
    let mut pause = LOOK_EVERY;
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(pause) {
        let began = Instant::now();
        pause = match store.build_index() {
            Ok(Some(_)) => began.elapsed(),
            Ok(None) => LOOK_EVERY,
            Err(error) if tries_again(&error, "the building of an index") => LOOK_EVERY,
            Err(_) => return,
        };
    }
}
