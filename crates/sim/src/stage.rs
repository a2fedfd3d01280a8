//! What runs of every kind have: a world whose faults come and go, the loop that drives it, what has gone wrong, and
//! the report. A kind of run says what its phases are and what it makes of what occurs.

use crate::clock::{TrueTime, WALL_ORIGIN};
use crate::fault::{FaultKind, FaultPlan, FaultStep};
use crate::oracle::Violation;
use crate::trace::Subject;
use crate::workload::{KEYSPACE, schema_change};
use crate::world::{Build, Occurrence, World};
use model::schema::Schema;
use model::{Planted, RequestError, RetryToken, Rng, TableId, WallMicros};
use node::Durability;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// Token of the timer of the next fault; clients have their index, and kinds of runs take what comes after it.
pub(crate) const FAULT_TIMER: u64 = 1 << 32;

/// Tokens of timers above this end pauses of requests that are sent again.
const PAUSE_TIMERS: u64 = 1 << 40;

/// A few nodes have joined within this time after the start.
pub(crate) const BOOT_MICROS: u64 = 120_000_000;

/// Once everything is healed, a request at ALL succeeds within this time.
pub(crate) const SERVED_WITHIN: Duration = Duration::from_secs(5);

/// Once everything is healed, whatever was asked for before is answered within this time.
pub(crate) const ANSWERED_MICROS: u64 = 30_000_000;

/// Clients go on for so long once everything is healed.
const HEALED_MICROS: u64 = 5_000_000;

/// Lines of the story in a report.
const STORY_LINES: usize = 400;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// Nodes; drawn when not given.
    pub machines: Option<usize>,
    /// Simulated seconds of work under faults.
    pub seconds: u64,
    /// The bug to run with; only where the feature `planted` is compiled in.
    pub planted: Option<Planted>,
    /// Keep every event in words.
    pub full: bool,
}

impl Options {
    /// A run of `seed` as the tests do it.
    #[must_use]
    pub fn of_seed(seed: u64) -> Options {
        Options { seed, machines: None, seconds: 12, planted: None, full: false }
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Something happened that must never happen.
    Correctness(Violation),
    /// Something did not happen that must happen in time.
    Liveness(Violation),
    /// The code under test panicked.
    Crash(Violation),
}

impl Failure {
    /// What the oracle says.
    #[must_use]
    pub fn violation(&self) -> &Violation {
        match self {
            Failure::Correctness(violation) | Failure::Liveness(violation) | Failure::Crash(violation) => violation,
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report<C> {
    /// Its seed.
    pub seed: u64,
    /// Nodes.
    pub machines: usize,
    /// The hash of everything that happened.
    pub hash: u128,
    /// Events handled.
    pub events: u64,
    /// Simulated time in microseconds.
    pub simulated: TrueTime,
    /// Faults injected, by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// What its clients did.
    pub counts: C,
    /// What went wrong, if anything.
    pub failure: Option<Failure>,
    /// The story of the run, for people; empty when nothing went wrong.
    pub story: String,
    /// Every event in words, if asked for.
    pub full: Vec<String>,
}

/// The world of a run, and its faults.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) plan: FaultPlan,
    pub(crate) clients_work: bool,
    pub(crate) faults_on: bool,
    /// The last error of a request, for what must succeed.
    pub(crate) last_error: Option<RequestError>,
}

impl Stage {
    pub(crate) fn new(world: World, plan: FaultPlan) -> Stage {
        Stage { world, plan, clients_work: false, faults_on: false, last_error: None }
    }

    pub(crate) fn machines(&self) -> usize {
        self.world.build().machines
    }

    pub(crate) fn tell(&mut self, text: String) {
        let time = self.world.time();
        self.world.trace.tell(time, Subject::World, text);
    }

    /// # Errors
    /// When it is not done.
    pub(crate) fn must(&self, done: bool, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if done { Ok(()) } else { Err(Failure::Liveness(Violation::new("liveness", text()))) }
    }

    pub(crate) fn plan_fault(&mut self) {
        if let Some(pause) = self.plan.pause() {
            self.world.set_timer(pause, FAULT_TIMER);
        }
    }

    fn inject(&mut self) {
        if !self.faults_on {
            return;
        }
        for (delay, step) in self.plan.next_fault() {
            self.world.schedule_fault(delay, step);
        }
        self.plan_fault();
    }

    /// True when every node knows of all the others.
    pub(crate) fn all_joined(&self) -> bool {
        let machines = self.machines();
        (0..machines).all(|machine| self.world.view(machine).is_some_and(|view| view.members.len() == machines))
    }
}

/// A run of a seed.
pub(crate) trait Run: Sized {
    /// What its clients did.
    type Counts;

    fn stage(&self) -> &Stage;

    fn stage_mut(&mut self) -> &mut Stage;

    /// Everything, with so many microseconds of work under faults.
    ///
    /// # Errors
    /// What goes wrong.
    fn phases(&mut self, under_faults: u64) -> Result<(), Failure>;

    /// Looks at something that has occurred, other than faults and nodes that stop.
    ///
    /// # Errors
    /// When it must not have.
    fn occurred(&mut self, occurrence: Occurrence) -> Result<(), Violation>;

    /// Whether a process may stop by itself with this reason.
    fn may_stop(&mut self, _machine: usize, _reason: &str) -> bool {
        false
    }

    /// Every client thinks, then asks.
    fn start_clients(&mut self);

    /// True when nobody waits for an answer.
    fn is_answered(&self) -> bool;

    /// The end: the stage, and what the clients did.
    fn end(self) -> (Stage, Self::Counts);

    /// Handles events until `until`, or until `enough`; true when enough.
    ///
    /// # Errors
    /// What goes wrong.
    fn advance(&mut self, until: TrueTime, enough: impl Fn(&Self) -> bool) -> Result<bool, Failure> {
        loop {
            if enough(self) {
                return Ok(true);
            }
            if !self.stage_mut().world.step(until) {
                return Ok(false);
            }
            let mut wrong = None;
            while let Some(occurrence) = self.stage_mut().world.occurred() {
                let result = match occurrence {
                    Occurrence::Timer(FAULT_TIMER) => {
                        self.stage_mut().inject();
                        Ok(())
                    }
                    Occurrence::Stopped { expected: true, .. } => Ok(()),
                    Occurrence::Stopped { machine, reason, .. } if self.may_stop(machine, &reason) => Ok(()),
                    Occurrence::Stopped { machine, reason, .. } => {
                        Err(Violation::new("membership", format!("node {machine} stopped by itself: {reason}")))
                    }
                    Occurrence::Wrong(violation) => Err(violation),
                    other => self.occurred(other),
                };
                wrong = wrong.or(result.err());
            }
            if let Some(violation) = wrong {
                return Err(Failure::Correctness(violation));
            }
        }
    }

    /// All processes start and join, and have a keyspace with these tables, whose ids count from 2 on.
    ///
    /// # Errors
    /// When that takes too long.
    fn found(&mut self, replicas: usize, tables: &[&str]) -> Result<(), Failure> {
        let machines = self.stage().machines();
        for machine in 0..machines {
            self.stage_mut().world.schedule_fault(machine as u64 * 1_000, FaultStep::Start(machine));
        }
        let until = self.stage().world.time() + BOOT_MICROS;
        let joined = self.advance(until, |run| run.stage().all_joined())?;
        self.stage().must(joined, || "not all nodes have joined".to_owned())?;
        let keyspace = self.stage().world.build().create_keyspace(KEYSPACE, &[replicas]);
        for (text, id) in std::iter::once(keyspace.as_str()).chain(tables.iter().copied()).zip(1u128..) {
            let id = TableId(id);
            self.stage_mut().world.propose(0, schema_change(text, id));
            let until = self.stage().world.time() + BOOT_MICROS;
            let known = self.advance(until, |run| {
                // The keyspace takes the first id, and is no table.
                let known = |schema: &Schema| match id {
                    TableId(1) => schema.keyspace(KEYSPACE).is_some(),
                    id => schema.table(id).is_some(),
                };
                (0..machines).all(|machine| run.stage().world.view(machine).is_some_and(|view| known(&view.schema)))
            })?;
            self.stage().must(known, || format!("not all nodes know the schema: {text}"))?;
        }
        Ok(())
    }

    /// Clients work under faults for so long, and for a while when these are over; then all are answered.
    ///
    /// # Errors
    /// What goes wrong.
    fn work(&mut self, under_faults: u64) -> Result<(), Failure> {
        self.stage_mut().clients_work = true;
        self.start_clients();
        self.stage_mut().faults_on = true;
        self.stage_mut().plan_fault();
        let until = self.stage().world.time() + under_faults;
        self.advance(until, |_| false)?;
        self.stage_mut().faults_on = false;
        self.stage_mut().world.heal();
        let until = self.stage().world.time() + HEALED_MICROS;
        self.advance(until, |_| false)?;
        self.stage_mut().clients_work = false;
        let until = self.stage().world.time() + ANSWERED_MICROS;
        self.advance(until, Self::is_answered)?;
        Ok(())
    }

    /// Runs all of it.
    fn play(mut self, options: &Options) -> Report<Self::Counts> {
        // What is left of a run that panicked is only told of.
        let phases = AssertUnwindSafe(|| self.phases(options.seconds * 1_000_000));
        let failure = match std::panic::catch_unwind(phases) {
            Ok(outcome) => outcome.err(),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                let text = text.unwrap_or_else(|| "without a message".to_owned());
                Some(Failure::Crash(Violation::new("panic", text)))
            }
        };
        let (Stage { world, plan, .. }, counts) = self.end();
        Report {
            seed: options.seed,
            machines: world.build().machines,
            hash: world.trace.hash(),
            events: world.handled(),
            simulated: world.time(),
            faults: plan.injected,
            counts,
            story: if failure.is_some() { world.trace.story(STORY_LINES) } else { String::new() },
            failure,
            full: world.trace.full().to_vec(),
        }
    }
}

/// How the clients of a run use retry tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens {
    /// Of a hundred writes so many have one.
    percent: u64,
    /// Attempts at most, with the first one.
    attempts_max: u32,
}

impl Tokens {
    /// Draws it, and for how long the nodes remember what requests came to.
    pub(crate) fn draw(rng: &mut Rng, build: Build) -> (Tokens, Build) {
        let mut chosen = |choices: &[u64]| choices[rng.index(choices.len())];
        let (percent, window) = (chosen(&[0, 50, 100]), chosen(&[600, 600, 600, 4, 1]));
        let tokens = Tokens { percent, attempts_max: chosen(&[3, 30]) as u32 };
        (tokens, Build { retry_window: Duration::from_secs(window), ..build })
    }

    /// The token of a new write, if it has one.
    pub(crate) fn token(self, rng: &mut Rng, time: TrueTime) -> Option<RetryToken> {
        let wanted = rng.below(100) < self.percent;
        wanted.then(|| RetryToken::at(WallMicros(WALL_ORIGIN + time as i64), rng.next_u64()))
    }

    /// True when a write that has a token, and failed after so many attempts, is tried again.
    pub(crate) fn try_again(self, attempts: u32) -> bool {
        attempts < self.attempts_max
    }
}

/// Requests that are sent again after a pause.
#[derive(Debug)]
pub(crate) struct Pausing<F> {
    all: BTreeMap<u64, F>,
    next: u64,
}

impl<F> Pausing<F> {
    pub(crate) fn new() -> Pausing<F> {
        Pausing { all: BTreeMap::new(), next: PAUSE_TIMERS }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Takes one that is to be sent again; its pause ends with the timer that this gives, after so many microseconds.
    pub(crate) fn pause(&mut self, rng: &mut Rng, flight: F) -> (u64, u64) {
        self.next += 1;
        self.all.insert(self.next, flight);
        (crate::network::geometric(rng, 20_000) + 1, self.next)
    }

    /// The one whose pause ends with this timer.
    pub(crate) fn resume(&mut self, timer: u64) -> Option<F> {
        self.all.remove(&timer)
    }
}

/// Draws how the machines of a run are built.
pub(crate) fn draw_build(rng: &mut Rng, machines: usize, planted: Option<Planted>) -> Build {
    let mut chosen = |choices: &[u64]| choices[rng.index(choices.len())];
    Build {
        machines,
        data_centers: 1,
        seeds: machines.min(3),
        shards_max: chosen(&[1, 1, 2, 4]) as u16,
        tokens: chosen(&[1, 4, 16]) as u32,
        durability: if chosen(&[0, 0, 0, 1]) == 1 { Durability::Periodic } else { Durability::Group },
        batched: chosen(&[0, 0, 50, 500]),
        batched_for: chosen(&[1_000, 20_000]),
        late: chosen(&[0, 1_000, 50_000]),
        retry_window: Duration::from_secs(600),
        skew: chosen(&[0, 50_000, 5_000_000]),
        drift_ppm: chosen(&[0, 100, 5_000]),
        sync_mean: chosen(&[200, 2_000, 20_000]),
        unreachable_noticed: chosen(&[0, 500, 1_000]),
        tables_linger: chosen(&[0, 2_000_000, 20_000_000]),
        replica_ops_max: chosen(&[8, 65_536, 65_536, 65_536]) as usize,
        draw_limits: true,
        voter_patience: membership::VOTER_PATIENCE,
        repairs_every: None,
        planted,
    }
}
