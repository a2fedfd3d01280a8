//! A chat with rooms: what is written in one terminal is seen in all others.
//!
//! The messages of a room and a day are one partition, the newest first, each under a timeuuid: a page of history is a
//! slice of it. The id of a message is its retry token too, so a message that is sent again, since its answer got
//! lost, is there once. Who is in a room is a row that expires unless it is written again.
#![allow(clippy::print_stdout, reason = "a program for people")]

use anyhow::Result;
use clap::Parser;
use client::{Session, Statement};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS messages (room text, day int, id timeuuid, author text, body text, \
     PRIMARY KEY ((room, day), id)) WITH CLUSTERING ORDER BY (id DESC)",
    "CREATE TABLE IF NOT EXISTS present (room text, name text, PRIMARY KEY (room, name))",
];

const DAY_MILLIS: i64 = 86_400_000;
/// How often new messages are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How far back they are looked for: a message may arrive so long after others that were written later.
const LATE_MILLIS: i64 = 10_000;
/// For how long a terminal that says nothing more is still taken to be there.
const PRESENT_SECONDS: i32 = 6;
/// Messages in a page of history.
const PAGE: i32 = 3;

/// Writes every line of its input as a message; /who, /history and /quit are commands.
#[derive(Parser)]
struct Options {
    /// The room
    #[arg(long)]
    room: String,
    /// Who you are
    #[arg(long)]
    name: String,
}

struct Chat {
    session: Session,
    room: String,
    name: String,
    /// Messages that were shown lately, by their ids and times.
    shown: BTreeMap<u128, i64>,
    /// Where the next page of history begins: a day, and a message of it.
    history: Option<(i64, u128)>,
}

fn day(millis: i64) -> i32 {
    i32::try_from(millis / DAY_MILLIS).unwrap_or(i32::MAX)
}

impl Chat {
    async fn say(&self, body: &str) -> Result<()> {
        let token = self.session.new_retry_token();
        let day = day(token.time().0 / 1_000);
        let insert = "INSERT INTO messages (room, day, id, author, body) VALUES (?, ?, ?, ?, ?)";
        let values = (&self.room, day, token.bits(), &self.name, body);
        self.session.execute(Statement::new(insert).retry_token(token), values).await?;
        Ok(())
    }

    async fn be_present(&self) -> Result<()> {
        let insert = "INSERT INTO present (room, name) VALUES (?, ?) USING TTL ?";
        self.session.execute(insert, (&self.room, &self.name, PRESENT_SECONDS)).await?;
        Ok(())
    }

    async fn who(&self) -> Result<()> {
        let result = self.session.execute("SELECT name FROM present WHERE room = ?", (&self.room,)).await?;
        let names: Vec<String> = result.rows().iter().map(|row| row.get("name")).collect::<Result<_, _>>()?;
        println!("* here: {}", names.join(", "));
        Ok(())
    }

    /// Shows messages that were not shown yet, the oldest first.
    async fn look(&mut self) -> Result<()> {
        let since = examples::now_millis() - LATE_MILLIS;
        let days: BTreeSet<i32> = [day(since), day(examples::now_millis())].into();
        for day in days {
            let select = "SELECT id, to_unix_timestamp(id) AS at, author, body FROM messages \
                          WHERE room = ? AND day = ? AND id > min_timeuuid(?) ORDER BY id ASC";
            let result = self.session.execute(select, (&self.room, day, since)).await?;
            for row in result.rows() {
                let id: u128 = row.get("id")?;
                if self.shown.insert(id, row.get("at")?).is_none() {
                    println!("<{}> {}", row.get::<String>("author")?, row.get::<String>("body")?);
                }
            }
        }
        self.shown.retain(|_, at| *at >= since - LATE_MILLIS);
        Ok(())
    }

    /// Shows a page of what was written before, the newest first; the next time the page behind it.
    async fn show_history(&mut self) -> Result<()> {
        let (at, before) = self.history.unwrap_or((examples::now_millis(), self.session.new_retry_token().bits()));
        let select = "SELECT id, to_unix_timestamp(id) AS at, author, body FROM messages \
                      WHERE room = ? AND day = ? AND id < ? LIMIT ?";
        let result = self.session.execute(select, (&self.room, day(at), before, PAGE)).await?;
        for row in result.rows() {
            println!("| <{}> {}", row.get::<String>("author")?, row.get::<String>("body")?);
            self.history = Some((row.get("at")?, row.get("id")?));
        }
        if result.rows().is_empty() {
            println!("| nothing more today");
        }
        Ok(())
    }

    /// Does what a line asks for; false when it is the last one.
    async fn on_line(&mut self, line: &str) -> Result<bool> {
        match line.trim() {
            "" => {}
            "/quit" => return Ok(false),
            "/who" => self.who().await?,
            "/history" => self.show_history().await?,
            body => self.say(body).await?,
        }
        Ok(true)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let Options { room, name } = Options::parse();
    let session = examples::connect(&TABLES).await?;
    let mut chat = Chat { session, room, name, shown: BTreeMap::new(), history: None };
    chat.be_present().await?;
    println!("* {} is in {}", chat.name, chat.room);
    let mut lines = examples::lines();
    let (mut look, mut present) = (tokio::time::interval(LOOK_EVERY), tokio::time::interval(Duration::from_secs(2)));
    loop {
        tokio::select! {
            line = lines.recv() => match line.transpose()? {
                Some(line) if chat.on_line(&line).await? => {}
                _ => return chat.look().await,
            },
            _ = look.tick() => chat.look().await?,
            _ = present.tick() => chat.be_present().await?,
        }
    }
}
