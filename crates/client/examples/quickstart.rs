//! Connects to a cluster on this machine, writes, and reads.

#![allow(clippy::print_stdout, reason = "an example shows what it gets")]

use client::{Consistency, Session, Statement};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let session = Session::connect(["127.0.0.1:7042"]).await?;

    session
        .execute(
            "CREATE KEYSPACE IF NOT EXISTS quickstart \
             WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
            (),
        )
        .await?;
    session.use_keyspace("quickstart").await?;
    session
        .execute(
            "CREATE TABLE IF NOT EXISTS readings \
             (sensor text, at timestamp, celsius double, note text, PRIMARY KEY (sensor, at))",
            (),
        )
        .await?;

    // Prepared once, executed often: parsed by no node again, and sent to a replica of the partition.
    let insert = session.prepare("INSERT INTO readings (sensor, at, celsius, note) VALUES (?, ?, ?, ?)").await?;
    for minute in 0..60i64 {
        let note = (minute == 0).then_some("first of the hour");
        session.execute_prepared(&insert, ("roof", minute * 60_000, 20.0 + minute as f64 / 60.0, note)).await?;
    }

    // All rows, page by page.
    let select = session.prepare("SELECT at, celsius, note FROM readings WHERE sensor = ?").await?.page_size(25);
    let mut rows = session.query_iter_prepared(&select, ("roof",))?;
    while let Some(row) = rows.next_row().await? {
        let (at, celsius): (i64, f64) = (row.get("at")?, row.get("celsius")?);
        let note: Option<String> = row.get("note")?;
        println!("{at:>9} {celsius:.2} {}", note.unwrap_or_default());
    }

    // A statement with options of its own.
    let latest = Statement::new("SELECT celsius FROM readings WHERE sensor = ? ORDER BY at DESC LIMIT 1")
        .consistency(Consistency::One);
    let result = session.execute(latest, ("roof",)).await?;
    if let Some(row) = result.first() {
        println!("latest: {:.2}", row.get::<f64>("celsius")?);
    }
    Ok(())
}
