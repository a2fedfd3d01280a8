//! What the three applications have in common: how they connect, and the time.
#![allow(clippy::disallowed_methods, reason = "programs for people: they read clocks")]

use anyhow::{Context, Result};
use client::{Session, SessionBuilder};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Connects to the nodes in the environment variable `HELENUS_HOSTS`, with commas between them, else to 127.0.0.1, and
/// makes the tables that are not there yet in the keyspace `examples`, with a copy of everything on three nodes.
///
/// Each write that could not be repeated otherwise gets a retry token: the session then tries it again by itself when
/// it does not know what became of it, and it happens once.
///
/// # Errors
/// When no node answers, or a table cannot be made.
pub async fn connect(tables: &[&str]) -> Result<Session> {
    let hosts = std::env::var("HELENUS_HOSTS").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let builder = SessionBuilder::new(hosts.split(',')).timeout(Duration::from_secs(20)).retries(20).retry_tokens(true);
    let session = builder.connect().await.with_context(|| format!("no node answers at {hosts}"))?;
    let replication = "{'class': 'SimpleStrategy', 'replication_factor': 3}";
    session.execute(format!("CREATE KEYSPACE IF NOT EXISTS examples WITH replication = {replication}"), ()).await?;
    session.use_keyspace("examples").await?;
    for table in tables {
        session.execute(*table, ()).await?;
    }
    Ok(session)
}

/// The lines of the standard input, as they come.
#[must_use]
pub fn lines() -> mpsc::Receiver<std::io::Result<String>> {
    let (sender, receiver) = mpsc::channel(16);
    // A thread of its own: a read of a terminal cannot be given up, and would keep the program from ending.
    std::thread::spawn(move || std::io::stdin().lines().all(|line| sender.blocking_send(line).is_ok()));
    receiver
}

/// Milliseconds since 1970, by the clock of this machine.
#[must_use]
pub fn now_millis() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
