//! A distributed lock, and the election of a leader by it.
//!
//! A lock is a row. Who holds it is a value that expires, the lease: a holder that dies loses it by itself. Each time
//! that the lock changes hands its fencing token grows by one, and never goes back. A lease can end while its holder
//! does not notice (a long pause, a slow network): what the lock protects must therefore be given the token, and refuse
//! one that is lower than what it has seen. `write` does that.
#![allow(clippy::print_stdout, reason = "a program for people")]

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use client::{Consistency, Session, Statement};
use std::time::Duration;

const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS locks (name text PRIMARY KEY, owner text, fence bigint)",
    "CREATE TABLE IF NOT EXISTS protected (name text PRIMARY KEY, fence bigint, value text)",
];

/// A distributed lock with leases and fencing tokens.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Takes a lock if it is free
    Acquire {
        name: String,
        #[arg(long)]
        owner: String,
        /// Seconds after which the lease ends unless it is renewed
        #[arg(long, default_value_t = 30)]
        ttl: i32,
    },
    /// Gives a lock back
    Release {
        name: String,
        #[arg(long)]
        owner: String,
        #[arg(long)]
        fence: i64,
    },
    /// Writes what the lock protects, unless a later holder has written it
    Write {
        name: String,
        value: String,
        #[arg(long)]
        fence: i64,
    },
    /// Runs for leader for as long as the process lives, and says who is
    Lead {
        name: String,
        #[arg(long)]
        owner: String,
        #[arg(long, default_value_t = 3)]
        ttl: i32,
    },
}

/// What a lock is at present: its owner, while there is one, and the token of the last one.
async fn look(session: &Session, name: &str) -> Result<(Option<String>, Option<i64>)> {
    let select = Statement::new("SELECT owner, fence FROM locks WHERE name = ?").consistency(Consistency::Serial);
    let result = session.execute(select, (name,)).await?;
    match result.first() {
        Some(row) => Ok((row.get("owner")?, row.get("fence")?)),
        None => Ok((None, None)),
    }
}

async fn applied(session: &Session, text: &str, values: impl client::ToValues) -> Result<bool> {
    let result = session.execute(text, values).await?;
    Ok(result.first().is_some_and(|row| row.get::<bool>("[applied]").unwrap_or(false)))
}

/// Takes a lock if it is free: the token of the new holder.
async fn acquire(session: &Session, name: &str, owner: &str, ttl: i32) -> Result<Option<i64>> {
    let (holder, fence) = look(session, name).await?;
    if holder.is_some() {
        return Ok(None);
    }
    // The lease expires, the token does not. Both change, or neither.
    let batch = "BEGIN BATCH UPDATE locks USING TTL ? SET owner = ? WHERE name = ? IF owner = null; \
                 UPDATE locks SET fence = ? WHERE name = ? IF fence = ?; APPLY BATCH";
    let next = fence.unwrap_or(0) + 1;
    let taken = applied(session, batch, (ttl, owner, name, next, name, fence)).await?;
    Ok(taken.then_some(next))
}

/// Makes the lease last for `ttl` seconds from now; false when it has ended.
async fn renew(session: &Session, name: &str, owner: &str, fence: i64, ttl: i32) -> Result<bool> {
    let update = "UPDATE locks USING TTL ? SET owner = ? WHERE name = ? IF owner = ? AND fence = ?";
    applied(session, update, (ttl, owner, name, owner, fence)).await
}

async fn release(session: &Session, name: &str, owner: &str, fence: i64) -> Result<bool> {
    let delete = "DELETE owner FROM locks WHERE name = ? IF owner = ? AND fence = ?";
    applied(session, delete, (name, owner, fence)).await
}

/// Writes what is protected with the token of the lock; false when a later holder has.
async fn write(session: &Session, name: &str, value: &str, fence: i64) -> Result<bool> {
    let insert = "INSERT INTO protected (name, fence, value) VALUES (?, ?, ?) IF NOT EXISTS";
    let update = "UPDATE protected SET fence = ?, value = ? WHERE name = ? IF fence <= ?";
    Ok(applied(session, insert, (name, fence, value)).await?
        || applied(session, update, (fence, value, name, fence)).await?)
}

/// Becomes the leader whenever nobody is, and renews the lease while it lasts.
async fn lead(session: &Session, name: &str, owner: &str, ttl: i32) -> Result<()> {
    let (pause, mut leading) = (Duration::from_millis(1_000 * u64::from(ttl.unsigned_abs()) / 3), None);
    loop {
        leading = match leading {
            Some(fence) if renew(session, name, owner, fence, ttl).await? => Some(fence),
            Some(_) => {
                println!("{owner} leads {name} no more");
                None
            }
            None => acquire(session, name, owner, ttl).await?.inspect(|fence| {
                println!("{owner} leads {name} with token {fence}");
            }),
        };
        tokio::time::sleep(pause).await;
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let session = examples::connect(&TABLES).await?;
    match options.task {
        Task::Acquire { name, owner, ttl } => match acquire(&session, &name, &owner, ttl).await? {
            Some(fence) => println!("{owner} holds {name} with token {fence}"),
            None => match look(&session, &name).await? {
                (Some(holder), _) => bail!("{name} is held by {holder}"),
                (None, _) => bail!("{name} was just taken by somebody else"),
            },
        },
        Task::Release { name, owner, fence } => match release(&session, &name, &owner, fence).await? {
            true => println!("{name} is free"),
            false => bail!("{owner} does not hold {name} with token {fence}"),
        },
        Task::Write { name, value, fence } => match write(&session, &name, &value, fence).await? {
            true => println!("{name} is {value}"),
            false => bail!("token {fence} is not the last one for {name}"),
        },
        Task::Lead { name, owner, ttl } => lead(&session, &name, &owner, ttl).await?,
    }
    Ok(())
}
