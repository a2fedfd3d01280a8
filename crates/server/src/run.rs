//! A process that is a node, or a whole cluster: from its settings to its end by a signal.

use crate::boot::{Node, StartOptions};
use crate::config::Config;
use crate::dev::{Cluster, DevOptions};
use crate::exit::{Exit, ServerError, stop_process};
use std::net::SocketAddr;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

fn runtime(workers: usize) -> Result<Runtime, ServerError> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        // For opening stores and creating tables: seldom, and few at once.
        .max_blocking_threads(64)
        .thread_name("worker")
        .enable_all()
        .build();
    built.map_err(|cause| ServerError::Failure(format!("no runtime: {cause}")))
}

/// The signals that ask a process to stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Stop, ServerError> {
        let listen = |kind| signal(kind).map_err(|cause| ServerError::Failure(format!("no signals: {cause}")));
        Ok(Stop { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for `drained`; a second signal ends the process at once.
    async fn unless_asked_again(&mut self, drained: impl Future<Output = ()>) {
        tokio::select! {
            () = drained => {}
            () = self.asked() => stop_process(Exit::Failure, "stopped by a second signal before it was drained"),
        }
    }
}

/// Runs a node until SIGTERM or SIGINT; `ready` is called once it serves.
///
/// # Errors
/// When it does not start.
pub fn run_node(config: Config, options: StartOptions, ready: impl FnOnce(SocketAddr)) -> Result<(), ServerError> {
    runtime(usize::from(config.shards))?.block_on(async {
        let mut stop = Stop::listen()?;
        let starting = tokio::spawn(Node::start(config, options));
        let node = tokio::select! {
            started = starting => started,
            // Nothing was acknowledged: there is nothing to finish, and a long recovery is not waited for.
            () = stop.asked() => stop_process(Exit::Success, "stopped while starting"),
        };
        let node = node.map_err(|cause| ServerError::Failure(format!("the node did not start: {cause}")))??;
        tokio::select! {
            () = node.serving() => {
                ready(node.client_address());
                stop.asked().await;
            }
            () = stop.asked() => {}
        }
        stop.unless_asked_again(node.stop()).await;
        Ok(())
    })
}

/// Runs a whole cluster in this process until SIGTERM or SIGINT; `ready` is called once all nodes serve.
///
/// # Errors
/// When a node does not start.
pub fn run_dev(options: &DevOptions, ready: impl FnOnce(&[SocketAddr])) -> Result<(), ServerError> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    runtime(processors.min(usize::from(options.nodes)).max(1))?.block_on(async {
        let mut stop = Stop::listen()?;
        let cluster = tokio::select! {
            started = Cluster::start(options) => started?,
            // The temporary folder, if any, goes with the future.
            () = stop.asked() => return Ok(()),
        };
        ready(&cluster.client_addresses());
        stop.asked().await;
        stop.unless_asked_again(cluster.stop()).await;
        Ok(())
    })
}
