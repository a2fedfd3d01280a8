//! Takes readings of sensors, keeps them for a while, and the sums of every hour for ever.
//!
//! A reading is a row with a time to live: it goes by itself. The aggregates of an hour are counters, so that any
//! number of programs can take readings at once. Each reading has one retry token, made of when and where it was taken:
//! a file of readings that is read twice, or by two programs, counts once.
#![allow(clippy::print_stdout, reason = "a program for people")]

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use client::{RetryToken, Session, Statement, WallMicros};
use std::hash::{DefaultHasher, Hash, Hasher};

const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS readings (sensor text, hour bigint, at timestamp, value double, \
     PRIMARY KEY ((sensor, hour), at))",
    "CREATE TABLE IF NOT EXISTS hourly (sensor text, hour bigint, readings counter, total_thousandths counter, \
     PRIMARY KEY (sensor, hour))",
];

const HOUR_MILLIS: i64 = 3_600_000;

/// Takes readings of sensors and reports them.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Takes the readings in its input: lines of a sensor, milliseconds ago, and a value
    Ingest {
        /// Readings are taken relative to this time, in milliseconds since 1970; now if it is not given
        #[arg(long)]
        at: Option<i64>,
        /// Seconds for which single readings are kept
        #[arg(long, default_value_t = 7 * 86_400)]
        keep: i32,
    },
    /// Shows the hours of a sensor
    Report { sensor: String },
    /// Shows how many single readings of a sensor are kept of the hour of a time
    Kept {
        sensor: String,
        #[arg(long)]
        at: Option<i64>,
    },
}

struct Reading {
    sensor: String,
    at: i64,
    value: f64,
}

impl Reading {
    fn parse(line: &str, now: i64) -> Result<Reading> {
        let parts: Vec<&str> = line.split_whitespace().collect();
        ensure!(parts.len() == 3, "not a sensor, milliseconds ago and a value: '{line}'");
        let ago: i64 = parts[1].parse().with_context(|| format!("'{}' is no number of milliseconds", parts[1]))?;
        let value = parts[2].parse().with_context(|| format!("'{}' is no number", parts[2]))?;
        Ok(Reading { sensor: parts[0].to_owned(), at: now - ago, value })
    }

    fn hour(&self) -> i64 {
        self.at.div_euclid(HOUR_MILLIS)
    }

    /// The same for the same reading, whoever takes it.
    fn token(&self) -> RetryToken {
        let mut hasher = DefaultHasher::new();
        self.sensor.hash(&mut hasher);
        RetryToken::at(WallMicros(self.at * 1_000), hasher.finish())
    }

    async fn store(&self, session: &Session, keep: i32) -> Result<()> {
        let insert = "INSERT INTO readings (sensor, hour, at, value) VALUES (?, ?, ?, ?) USING TTL ?";
        let insert = Statement::new(insert).retry_token(self.token());
        session.execute(insert, (&self.sensor, self.hour(), self.at, self.value, keep)).await?;
        let add = "UPDATE hourly SET readings = readings + 1, total_thousandths = total_thousandths + ? \
                   WHERE sensor = ? AND hour = ?";
        let add = Statement::new(add).retry_token(self.token());
        let thousandths = (self.value * 1_000.0).round() as i64;
        session.execute(add, (thousandths, &self.sensor, self.hour())).await?;
        Ok(())
    }
}

async fn ingest(session: &Session, now: i64, keep: i32) -> Result<()> {
    let (mut lines, mut taken) = (examples::lines(), 0);
    while let Some(line) = lines.recv().await {
        Reading::parse(&line?, now)?.store(session, keep).await?;
        taken += 1;
    }
    println!("{taken} readings taken");
    Ok(())
}

async fn report(session: &Session, sensor: &str) -> Result<()> {
    let select = "SELECT readings, total_thousandths FROM hourly WHERE sensor = ?";
    for row in session.execute(select, (sensor,)).await?.rows() {
        let (readings, total): (i64, i64) = (row.get("readings")?, row.get("total_thousandths")?);
        println!("{sensor}: {readings} readings, {:.3} on average", total as f64 / 1_000.0 / readings as f64);
    }
    Ok(())
}

async fn kept(session: &Session, sensor: &str, at: i64) -> Result<()> {
    let select = "SELECT count(*) AS kept FROM readings WHERE sensor = ? AND hour = ?";
    let result = session.execute(select, (sensor, at.div_euclid(HOUR_MILLIS))).await?;
    let kept: i64 = result.first().context("count(*) has a row")?.get("kept")?;
    println!("{sensor}: {kept} readings kept");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let session = examples::connect(&TABLES).await?;
    match options.task {
        Task::Ingest { at, keep } => ingest(&session, at.unwrap_or_else(examples::now_millis), keep).await,
        Task::Report { sensor } => report(&session, &sensor).await,
        Task::Kept { sensor, at } => kept(&session, &sensor, at.unwrap_or_else(examples::now_millis)).await,
    }
}
