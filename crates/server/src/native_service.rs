//! The listener of the CQL native protocol.
//!
//! Invariant: connections are bounded; one that is too many is closed at once, and what is wrong with one connection
//! ends no other.

use crate::member_loop::Published;
use crate::metrics::Metrics;
use crate::native_connection::{Connection, Door, End};
use crate::tls::Socket;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How long to wait after a connection could not be accepted: there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves clients until the node drains and every connection has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    door: Arc<Door>,
    published: Arc<Published>,
    connections_max: usize,
    metrics: Arc<Metrics>,
) {
    let events = door.events.clone();
    let telling = tokio::spawn({
        let drain = door.drain.clone();
        async move { events.run(&published, drain).await }
    });
    let mut drain: watch::Receiver<bool> = door.drain.clone();
    let drained = drain.wait_for(|drain| *drain);
    tokio::pin!(drained);
    let places = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut drained => break,
            // Those that have ended must not pile up.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (socket, client) = match accepted {
            Ok(accepted) => accepted,
            Err(cause) => {
                tracing::warn!(%cause, "a client's connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            metrics.native_connections_refused.add(1);
            continue;
        };
        metrics.native_connections.add(1);
        // Small answers are written together already.
        let _ = socket.set_nodelay(true);
        let socket = match Socket::new(socket, door.tls.as_ref()) {
            Ok(socket) => socket,
            Err(cause) => {
                tracing::warn!(%client, %cause, "TLS cannot begin");
                continue;
            }
        };
        let connection = Connection::new(door.clone(), socket, client);
        connections.spawn(async move {
            let _place = place;
            match connection.run().await {
                End::Closed => {}
                // Its driver connects again and reads everything: who wonders why finds the reason here.
                end @ End::MissedEvents => tracing::info!(%client, %end, "a client's connection was closed"),
                end => tracing::debug!(%client, %end, "a client's connection has ended"),
            }
        });
    }
    while connections.join_next().await.is_some() {}
    telling.abort();
}
